// Empties the array after a pass of the weight gradient. The sums of elements leave it in six cycles, one of each half of a lane at a
// time, into small memories; from there they are added to the accumulators, one of each class (four lanes) per cycle, while the next
// pass runs. What each multiplier worked on comes from the scheduler, which makes passes one multiplier of each class per cycle.
`default_nettype none

module jb_dw_drain #(
  parameter int OutLanes  = 16,
  parameter int PsumDepth = 1024,
  parameter int SumBits   = 36  // of an element's sum over the pixels of a tile
) (
  input  wire logic                           clk_i,
  input  wire logic                           rst_ni,
  // passes as they are made: a step of each class
  input  wire logic                           step_valid_i,
  input  wire logic [7:0]                     step_i,       // number of the pass mod 4, half of a lane in the class, place in it
  input  wire logic [10*(OutLanes/4)-1:0]     record_i,     // per class: row, column (2), channel (3), lane (2), used (1)
  // a pass that has run
  input  wire logic                           capture_i,    // pulse: sums leave from the next cycle on; not before busy_o has fallen
  input  wire logic [96*OutLanes-1:0]         element_i,
  input  wire logic [1:0]                     pass_i,       // number of the pass, with capture_i
  input  wire logic [$clog2(PsumDepth)-1:0]   base_i,       // word of the window's first tap, channel 0; with capture_i
  input  wire logic [2:0]                     kernel_w_i,   // stable during a tile
  output      logic                           busy_o,
  // to the partial sums: request, and two cycles later what the operands' register takes; per class
  output      logic [OutLanes-1:0]            add_o,
  output      logic [(OutLanes/4)*$clog2(PsumDepth)-1:0] address_o,
  output      logic [SumBits*(OutLanes/4)-1:0] sum_o
);
  localparam int AddressBits = $clog2(PsumDepth);
  localparam int Classes = OutLanes / 4;
  localparam int Columns = 8;  // halves of lanes in a class
  localparam int Last = 5;     // place that leaves first

  // ---- what leaves: place 5 of each half of a lane in the first cycle, place 0 in the sixth
  logic write_q;
  logic [2:0] write_place_q;
  logic busy_q;
  logic [2:0] column_q, place_q;
  logic [1:0] pass_q;
  logic [AddressBits-1:3] base_q;
  logic [5:1] valid_q;
  logic [2:0] column1_q, column2_q, column3_q, column4_q, place1_q, place2_q, place3_q, place4_q;

  assign busy_o = busy_q || valid_q != '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q <= 1'b0;
      busy_q  <= 1'b0;
      valid_q <= '0;
    end else begin
      if (capture_i) write_q <= 1'b1;
      else if (write_place_q == '0) write_q <= 1'b0;
      if (capture_i) busy_q <= 1'b1;
      else if (column_q == 3'(Columns - 1) && place_q == '0) busy_q <= 1'b0;
      valid_q <= {valid_q[4:1], busy_q};
    end
  end

  always_ff @(posedge clk_i) begin
    write_place_q <= capture_i ? 3'(Last) : write_place_q - 3'd1;
    if (capture_i) begin
      pass_q   <= pass_i;
      base_q   <= base_i[AddressBits-1:3];
      column_q <= '0;
      place_q  <= 3'(Last);
    end else begin
      place_q <= place_q == '0 ? 3'(Last) : place_q - 3'd1;
      if (place_q == '0) column_q <= column_q + 3'd1;
    end
    // The sums go behind their addresses.
    column1_q <= column_q;
    column2_q <= column1_q;
    column3_q <= column2_q;
    column4_q <= column3_q;
    place1_q  <= place_q;
    place2_q  <= place1_q;
    place3_q  <= place2_q;
    place4_q  <= place3_q;
  end

  // ---- what the multipliers worked on, for four passes: cycles 1 and 2 of an element
  (* ram_style = "block" *) logic [10*Classes-1:0] records[256];
  logic [10*Classes-1:0] read_q, record_q;

  always_ff @(posedge clk_i) begin
    if (step_valid_i) records[step_i] <= record_i;
    read_q   <= records[{pass_q, column_q, place_q}];
    record_q <= read_q;
  end

  for (genvar c = 0; c < Classes; c++) begin : g_class
    logic [1:0] row, column, lane;
    logic [2:0] channel;
    logic used;
    logic [4:0] taps;
    logic [SumBits*Columns-1:0] words;
    logic [SumBits-1:0] word;

    assign {row, column, channel, lane, used} = record_q[10*c+:10];
    assign taps = (row[1] ? {1'b0, kernel_w_i, 1'b0} : row[0] ? {2'b00, kernel_w_i} : 5'd0) + {3'd0, column};

    // cycle 3: its request
    always_ff @(posedge clk_i) begin
      address_o[AddressBits*c+:AddressBits] <= {base_q + (AddressBits-3)'(taps), channel};
      for (int n = 0; n < 4; n++) add_o[4*c+n] <= valid_q[2] && used && lane == 2'(n);
    end

    // cycle 4: its sum
    for (genvar q = 0; q < Columns; q++) begin : g_column
      (* ram_style = "distributed" *) logic [SumBits-1:0] memory[8];

      always_ff @(posedge clk_i) begin
        if (write_q) memory[write_place_q] <= element_i[48*(Columns*c+q)+:SumBits];
      end

      assign words[SumBits*q+:SumBits] = memory[place4_q];
    end

    jb_mux8 #(.Width(SumBits)) u_column (.values_i(words), .select_i(column4_q), .value_o(word));

    always_ff @(posedge clk_i) sum_o[SumBits*c+:SumBits] <= word;

    logic unused;
    assign unused = taps[4];
  end

  logic unused;
  assign unused = ^{base_i[2:0], element_i};
endmodule

`default_nettype wire
